"""Every selection. A line here makes a file of this room a selection: by name, on the command line, as a start of
methods and in the tests."""

# isort: skip_file
from jaxdistill.selection.uniform import RANDOM as RANDOM
from jaxdistill.selection.herding import HERDING as HERDING
from jaxdistill.selection.kcenter import KCENTER as KCENTER
from jaxdistill.selection.kmeans import KMEANS as KMEANS
from jaxdistill.selection.kmeans import CENTROIDS as CENTROIDS
from jaxdistill.selection.made import AVERAGE as AVERAGE
from jaxdistill.selection.made import NOISE as NOISE
from jaxdistill.selection.difficulty import FORGETTING as FORGETTING
from jaxdistill.selection.difficulty import EL2N as EL2N
from jaxdistill.selection.difficulty import GRAND as GRAND
from jaxdistill.selection.difficulty import GRAND_LAST as GRAND_LAST
from jaxdistill.selection.difficulty import AUM as AUM
from jaxdistill.selection.difficulty import CSCORE as CSCORE
from jaxdistill.selection.held_out import CONSISTENCY as CONSISTENCY
from jaxdistill.selection.held_out import MEMORISATION as MEMORISATION
from jaxdistill.selection.uncertainty import ENTROPY as ENTROPY
from jaxdistill.selection.uncertainty import MARGIN as MARGIN
from jaxdistill.selection.uncertainty import LEAST_CONFIDENCE as LEAST_CONFIDENCE
from jaxdistill.selection.search import WINDOW as WINDOW
from jaxdistill.selection.ccs import CCS as CCS
from jaxdistill.selection.cal import CAL as CAL
from jaxdistill.selection.deepfool import DEEPFOOL as DEEPFOOL
from jaxdistill.selection.moderate import MODERATE as MODERATE
from jaxdistill.selection.contextual_diversity import CONTEXTUAL_DIVERSITY as CONTEXTUAL_DIVERSITY
from jaxdistill.selection.submodular import FACILITY_LOCATION as FACILITY_LOCATION
from jaxdistill.selection.submodular import GRAPH_CUT as GRAPH_CUT
from jaxdistill.selection.craig import CRAIG as CRAIG
from jaxdistill.selection.gradmatch import GRADMATCH as GRADMATCH
from jaxdistill.selection.glister import GLISTER as GLISTER
from jaxdistill.selection.optimised import OPTIMISED as OPTIMISED
from jaxdistill.selection.taught import CORRECT as CORRECT
from jaxdistill.selection.taught import LABELLED as LABELLED
from jaxdistill.selection.solved import LABEL_SOLVE as LABEL_SOLVE
