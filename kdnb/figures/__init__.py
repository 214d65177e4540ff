"""The figures of the workbook: one style, common charts, image grids, diagrams, explorers.

    figures.use()
    figure = figures.points(frame, "errors", "test errors of 10,000", baseline="student")
    figures.save(figure, "2-1-recorded", alt="what came out", caption="The finding.")

This package imports nothing else of kdnb but `kdnb.paths`.
"""

from kdnb.figures.charts import (
    interval,
    lines,
    paired,
    paired_differences,
    points,
    published_beside_ours,
    tidy,
)
from kdnb.figures.explorers import explorer
from kdnb.figures.forests import forest, forests
from kdnb.figures.grids import bars, class_likeness, image, images, softened
from kdnb.figures.heatmaps import heat
from kdnb.figures.labels import label
from kdnb.figures.saving import save, show
from kdnb.figures.schematic import schematic, teacher_student
from kdnb.figures.tables import Table, forest_rows, published_and_ours, table
from kdnb.figures.theme import (
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PURPLE,
    RED,
    ROLES,
    SKY,
    colours,
    use,
)

style = use

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "LIGHT",
    "ORANGE",
    "PURPLE",
    "RED",
    "ROLES",
    "SKY",
    "Table",
    "bars",
    "class_likeness",
    "colours",
    "explorer",
    "forest",
    "forest_rows",
    "forests",
    "heat",
    "image",
    "images",
    "interval",
    "label",
    "lines",
    "paired",
    "paired_differences",
    "points",
    "published_and_ours",
    "published_beside_ours",
    "save",
    "schematic",
    "show",
    "softened",
    "style",
    "table",
    "teacher_student",
    "tidy",
    "use",
]
