# The image of API and worker; the command in docker-compose.yml decides which one a container runs.

# What the service needs, apart from the rest of pyproject.toml, so that no other change of that file installs it anew.
FROM python:3.11-slim AS requirements
COPY pyproject.toml pyproject.toml
RUN python -c "import json, tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print('[project]', 'name = \"requirements\"', 'version = \"0\"', sep='\n'); \
print('dependencies =', json.dumps(project['dependencies']))" > requirements.toml

FROM python:3.11-slim

# torch.compile, which training on GPUs uses, needs a C++ compiler at run time.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

# A new volume takes its owner and mode from the folder in the image.
RUN useradd --uid 1000 --create-home mcn && install -d -o mcn -g mcn -m 700 /data && install -d /datasets

WORKDIR /srv/mcn
COPY --from=requirements requirements.toml requirements.toml
COPY requirements.lock requirements.lock
COPY app/supervisor/install-requirements install-requirements
# cuda, cpu, or the address of a package index; see the script.
ARG TORCH=cuda
RUN ./install-requirements "$TORCH" && rm install-requirements requirements.toml

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
