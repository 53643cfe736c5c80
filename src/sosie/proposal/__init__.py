"""What ``sosie init`` proposes for an ntuple: response, conditions, and the study file in words."""
