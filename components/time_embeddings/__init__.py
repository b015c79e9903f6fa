"""Features of one time: registry `time_embeddings`."""

from components.time_embeddings.fourier import Fourier
from components.time_embeddings.learned import Learned
from components.time_embeddings.log_snr import LogSNR
from components.time_embeddings.sinusoidal import Sinusoidal

__all__ = ["Fourier", "Learned", "LogSNR", "Sinusoidal"]
