FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.13-slim
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels
RUN pip install --no-cache-dir -c /wheels/constraints.txt "$(ls /wheels/gpt2cli-*.whl)[serve]" && rm -r /wheels
RUN useradd --create-home gpt2 && mkdir /models && chown gpt2 /models
USER gpt2
ENV HF_HOME=/models
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["gpt2", "serve", "--host", "0.0.0.0"]
