"""Several runs in one process, each as if it were the first."""


def forget_earlier_runs() -> None:
    """Drop the scopes, loggers and visualisers that mmengine keeps of the runs before."""
    from mmengine.utils import ManagerMixin

    def forget(cls):
        cls._instance_dict.clear()
        for subclass in cls.__subclasses__():
            forget(subclass)
    forget(ManagerMixin)
