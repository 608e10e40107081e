# The image of API and worker; the command in docker-compose.yml decides which one a container runs.
FROM python:3.11-slim

# torch.compile, which training on GPUs uses, needs a C++ compiler at run time.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

# A new volume takes its owner and mode from the folder in the image.
RUN useradd --uid 1000 --create-home mcn && install -d -o mcn -g mcn -m 700 /data && install -d /datasets

WORKDIR /srv/mcn
COPY requirements.lock requirements.lock
RUN pip install --no-cache-dir uv \
    && uv pip install --system --no-cache --require-hashes --compile-bytecode -r requirements.lock

COPY pyproject.toml pyproject.toml
COPY README.md README.md
COPY app app
COPY core core
COPY examples examples
COPY migrations migrations
COPY worker worker
RUN uv pip install --system --no-cache --no-deps --no-build-isolation -e . && python -m compileall -q app core worker

USER mcn
ENV PYTHONUNBUFFERED=1
