"""Write the parts of the README and docs/ that show runs: the picture of a scene, and tables from docs/results/."""

from pages.arms import ARMS, write_tables
from pages.blocks import write_block
from pages.scene import write_pictures
from pages.shipped import SHIPPED, read_table

write_pictures()
if SHIPPED.is_file():
    write_block("README.md", "shipped", read_table())
if ARMS.is_file():
    write_tables()
for path in (SHIPPED, ARMS):
    if not path.is_file():
        print(f"{path}: no such file; its table stays as it is")
