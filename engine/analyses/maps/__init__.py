"""Channel-mean feature maps in numbers: the measure and its kernel."""
