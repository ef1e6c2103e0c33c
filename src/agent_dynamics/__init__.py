"""Two linear self-attention agents with misaligned objectives: simulate, train,
predict, measure.
"""
