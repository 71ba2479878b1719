# syntax=docker/dockerfile:1

FROM python:3.11-slim AS build
# An index with CPU builds of torch. Without it pip takes the default build, which on Linux brings
# several GB of CUDA libraries.
ARG TORCH_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/kindred
ENV PATH=/opt/kindred/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
RUN if [ -n "$TORCH_INDEX_URL" ]; then \
      pip install --index-url "$TORCH_INDEX_URL" $(grep -E '^torch(vision)?==' constraints.txt); \
    fi
# Dependencies first, on an empty package: they change seldom, the code often.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir kindred && touch kindred/__init__.py && pip install . -c constraints.txt
COPY kindred ./kindred
RUN pip install --no-deps --force-reinstall .

FROM python:3.11-slim
# LightGBM and implicit need the OpenMP runtime.
RUN apt-get update \
  && apt-get install -y --no-install-recommends libgomp1 \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 10001 --create-home kindred \
  && install -d -o kindred -g kindred /workspace
COPY --from=build /opt/kindred /opt/kindred
ENV PATH=/opt/kindred/bin:$PATH \
  KINDRED_WORKSPACE=/workspace \
  PYTHONUNBUFFERED=1
USER kindred
WORKDIR /workspace
VOLUME /workspace
EXPOSE 8321
ENTRYPOINT ["kindred"]
CMD ["serve"]
