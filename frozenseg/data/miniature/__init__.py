"""The miniature world: scenes of coloured shapes on textures, drawn from a seed."""
