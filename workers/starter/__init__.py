"""The starter model: tasks, pretraining, weights and the sample project made from them."""
