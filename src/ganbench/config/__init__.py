"""The configuration of a run: composed, checked at the boundary, and what names the run.

Everything a user can get wrong is refused here, before data is loaded, with the key, the rule, the value
and what would work. After `finalise` the configuration is a plain dict without interpolations. Other rooms
import from the package; what a module does not share stays its own.
"""

from ganbench.config.composition import compose, finalise, to_yaml
from ganbench.config.groups import (
    group_files,
    group_names,
    load_group,
    purpose,
    require_own_names,
    require_texts,
)
from ganbench.config.messages import hydra_message
from ganbench.config.targets import (
    foreign_code,
    instantiate,
    is_own_model,
    is_trusted,
    loss_parameters,
    require_trusted,
    resolve_target,
    target_arguments,
)
from ganbench.config.validation import NORM_CHOICES, validate, validate_stored
from ganbench.config.values import converted, is_number
from ganbench.identity import identity, run_name
from ganbench.schema import Config, lookup
