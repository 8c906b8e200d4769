"""Which sub-model gets a row: shares of arms, the route table, and the routing that uses both. Loads no sub-model."""
