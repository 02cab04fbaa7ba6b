FROM python:3.13.7-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY shared shared
COPY client client
COPY server server
RUN python -m venv /opt/sessioncast \
    && /opt/sessioncast/bin/pip install --no-cache-dir -c constraints.txt '.[server,postgres]'

FROM python:3.13.7-slim-bookworm
COPY --from=build /opt/sessioncast /opt/sessioncast
ENV PATH=/opt/sessioncast/bin:$PATH PYTHONUNBUFFERED=1
# The folder is for the SQLite default; with SESSIONCAST_DATABASE_URL it stays empty.
RUN useradd --system --uid 10001 sessioncast && install -d -o sessioncast /srv/sessioncast/data
WORKDIR /srv/sessioncast
USER sessioncast
EXPOSE 8080
# exec form: SIGTERM reaches the server, which says goodbye to every stream before it ends
ENTRYPOINT ["sessioncast"]
CMD ["serve"]
