//! The control plane: from manifests to a validated model, and from there to what is applied.
