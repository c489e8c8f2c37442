"""An ordinary Kedro project: configuration in conf/, nothing from the template."""

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"globals": ["globals*", "parameters*"]},
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}
