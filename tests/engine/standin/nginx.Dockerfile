# The stand-in for the image of nginx: its user, its folders, its logs on standard output and error.
ARG DEBIAN
FROM ${DEBIAN}
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nginx-light \
    && rm -rf /var/lib/nginx /var/lib/apt/lists/* /var/cache/apt/* \
    && ln -s /var/cache/nginx /var/lib/nginx && mkdir -p /var/cache/nginx \
    && ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log
