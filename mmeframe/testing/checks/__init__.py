"""The promises of each kind of component, one module for each, and those of all of them."""
