"""Write what the README and docs/ show of runs: the picture of one scene, and the tables of the comparison of arms."""

from pages.arms import RESULTS, write_tables
from pages.scene import write_pictures

write_pictures()
if RESULTS.is_file():
    write_tables()
else:
    print(f"{RESULTS}: no such file; the tables of arms stay as they are")
