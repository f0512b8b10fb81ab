"""Every table and figure in one session: trials that several share are run once, and the index page shows them all."""

from attention_alignment import FIGURE_6, TABLE_6, TABLE_7
from control import CONTROL
from noun_vs_attribute import NOUN_VS_ATTRIBUTE
from sweep_data_fraction import FIGURE_4
from sweep_fusion import INTERACTION, TABLE_4
from sweep_layers import TABLE_3
from sweep_loss import TABLE_5
from sweep_loss_weight import LOSS_WEIGHT
from swimlab import main

# Longest first, so that the machine is busy to the end.
TABLES = (
    TABLE_3,
    CONTROL,
    TABLE_4,
    INTERACTION,
    TABLE_5,
    LOSS_WEIGHT,
    FIGURE_4,
    NOUN_VS_ATTRIBUTE,
    FIGURE_6,
    TABLE_6,
    TABLE_7,
)

if __name__ == "__main__":
    main(*TABLES)
