"""One update of the variables: optimisers, rates, loss scaling, what is not finite."""
