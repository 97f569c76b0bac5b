"""PETS: learn a model of an environment, plan with it, keep what the planner did in a table (Chua et al. 2018)."""
