"""Write what shows runs in the README and docs/: the picture of a scene, the notebook, and tables of docs/results/."""

from pages.arms import ARMS, write_tables
from pages.bases import write_bases
from pages.blocks import write_block
from pages.notebook import write_notebook
from pages.scene import write_pictures
from pages.shipped import SHIPPED, read_table
from pages.worlds import write_families

write_families()
write_bases()
write_pictures()
if SHIPPED.is_file():
    write_block("README.md", "shipped", read_table())
if ARMS.is_file():
    write_tables()
write_notebook()
for path in (SHIPPED, ARMS):
    if not path.is_file():
        print(f"{path}: no such file; its table stays as it is")
