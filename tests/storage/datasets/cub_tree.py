"""Write a small CUB-200-2011 tree in the real format."""

from __future__ import annotations

from pathlib import Path

from tests.storage.datasets.dataset_suite import jpeg

CLASSES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")

# image id -> (class from 1, 1 = train); the ids have a gap and the files list them out of order, as nothing forbids
IMAGES = {1: (1, 0), 2: (1, 1), 3: (2, 0), 5: (2, 1), 8: (3, 0), 9: (3, 0), 10: (3, 1), 11: (1, 0)}


def relative(image: int, label: int | None = None) -> str:
    """The image's path in images.txt."""
    name = CLASSES[(IMAGES[image][0] if label is None else label) - 1]
    return f"{name}/{name[4:]}_{image:04d}_{79_6000 + image}.jpg"


def write_cub(folder: Path) -> None:
    """`folder` becomes what the archive calls CUB_200_2011."""
    boxes = {i: f"{i}.0 {i + 0.5} {10 + i}.0 {i * 2}.0" for i in IMAGES}
    _write(folder, IMAGES, boxes, sorted(IMAGES, key=lambda image: (image * 7) % 11))


def write_cub_of(folder: Path, count: int) -> None:
    """As `write_cub`, of so many images, each with a box of its own that lies inside."""
    images = {i: (1 + i % len(CLASSES), i % 2) for i in range(1, count + 1)}
    boxes = {i: f"{i % 7}.0 {i % 5}.5 {5 + i % 11}.0 {4 + i % 6}.0" for i in images}
    _write(folder, images, boxes, list(images))


def _write(folder: Path, images: dict[int, tuple[int, int]], boxes: dict[int, str], order: list[int]) -> None:
    paths = {image: relative(image, label) for image, (label, _) in images.items()}
    for image, name in paths.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(image, mode="L" if image == 8 else "RGB"))
    table = {
        "images.txt": [f"{i} {paths[i]}" for i in order],
        "image_class_labels.txt": [f"{i} {images[i][0]}" for i in reversed(order)],
        "train_test_split.txt": [f"{i} {images[i][1]}" for i in order],
        "classes.txt": [f"{k} {name}" for k, name in enumerate(CLASSES, start=1)],
        "bounding_boxes.txt": [f"{i} {boxes[i]}" for i in order],
    }
    for name, lines in table.items():
        (folder / name).write_text("\n".join(lines) + "\n")
