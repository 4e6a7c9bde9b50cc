"""What the composition of conf/ needs beside Hydra; loaded by DVC (plugins_path in .dvc/config).

- `open_entries`: a model's block may get new keys, -S models.NAME.KEY=VALUE, which Hydra refuses otherwise. The stages
  check all keys when they read params.yaml.
- `${at_most:64,${patches.size}}`: the smaller of two numbers.
"""

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

models = OmegaConf.create()
OmegaConf.set_struct(models, False)
ConfigStore.instance().store(name="open_entries", node={"models": models})
OmegaConf.register_new_resolver("at_most", min, replace=True)
