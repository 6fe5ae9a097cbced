"""What a job will cost on a cluster, predicted from its recipe and a measured run."""
