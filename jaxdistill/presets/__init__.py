"""What the papers set and published, by cell: one file a method, found by the method's name. None has to be there."""

from jaxdistill.presets.lookup import cells as cells
from jaxdistill.presets.lookup import find as find
from jaxdistill.presets.lookup import for_networks as for_networks
from jaxdistill.presets.lookup import reading_of as reading_of
from jaxdistill.presets.lookup import readings as readings
from jaxdistill.presets.lookup import unpublished as unpublished
