"""The built-in components. They import ``mmeframe.plugin`` only, so they prove the plugin API."""
