"""Features that stay in the memory of a device from epoch to epoch, so that no step waits for a disk or a copy."""

import torch

PIECE = 256  # sequences moved at once


class ResidentBatches:
    """The batches of a DataLoader of SequenceDataset, from the memory of a device.

    The same batches in the same order; all sequences are read and moved on construction.

    Attributes: ``dataset`` and ``batch_sampler``, of the loader.
    """

    def __init__(self, loader, device):
        self.dataset, self.batch_sampler, self.device = loader.dataset, loader.batch_sampler, device
        size = len(self.dataset)
        pieces = []
        for first in range(0, size, PIECE):
            stored = self.dataset.stored(list(range(first, min(first + PIECE, size))))
            pieces.append([part.to(device) for part in stored])
        self.stored = [torch.cat(parts) for parts in zip(*pieces)]  # features as on disk, doa, activity

    def __len__(self):
        return len(self.batch_sampler)

    def __iter__(self):
        batches = list(self.batch_sampler)
        places = torch.tensor([index for batch in batches for index in batch]).to(self.device)  # once an epoch
        for indices, where in zip(batches, places.split([len(batch) for batch in batches])):
            yield self.dataset.as_batch(*(part[where] for part in self.stored), indices)
