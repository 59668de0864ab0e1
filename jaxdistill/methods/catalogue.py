"""Every method's configuration and builder. A line here makes a file of this room a method: by name, on the command
line, in the tests and as ``jaxdistill.DM`` and ``jaxdistill.dm``. The builder is called as its file, and as its
configuration in small letters."""

# isort: skip_file
from jaxdistill.methods.dd import DD as DD, dd as dd
from jaxdistill.methods.dc import DC as DC, dc as dc
from jaxdistill.methods.dsa import DSA as DSA, dsa as dsa
from jaxdistill.methods.dm import DM as DM, dm as dm
from jaxdistill.methods.idc import IDC as IDC, idc as idc
from jaxdistill.methods.datadam import DataDAM as DataDAM, datadam as datadam
from jaxdistill.methods.mtt import MTT as MTT, mtt as mtt
from jaxdistill.methods.tesla import TESLA as TESLA, tesla as tesla
from jaxdistill.methods.ftd import FTD as FTD, ftd as ftd
from jaxdistill.methods.datm import DATM as DATM, datm as datm
from jaxdistill.methods.selmatch import SelMatch as SelMatch, selmatch as selmatch
from jaxdistill.methods.kip import KIP as KIP, kip as kip
from jaxdistill.methods.rfad import RFAD as RFAD, rfad as rfad
from jaxdistill.methods.frepo import FRePo as FRePo, frepo as frepo
from jaxdistill.methods.dit import DiT as DiT, dit as dit
from jaxdistill.methods.minimax import Minimax as Minimax, minimax as minimax
