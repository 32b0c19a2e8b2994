# A Debian machine with systemd, for the package: built by test_package.py, with the package in the build context.
ARG BASE
FROM ${BASE} AS machine
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends systemd systemd-sysv dbus bind9-dnsutils curl procps \
 && rm -f /lib/systemd/system/sysinit.target.wants/systemd-udev* /lib/systemd/system/multi-user.target.wants/getty.target
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]

FROM machine AS installed
COPY *.deb /tmp/
RUN apt-get update -qq
# What an operator types on a fresh machine; how long it took, and how much it put there.
RUN began=$(date +%s) before=$(du -smx / | cut -f1) \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y /tmp/*.deb \
 && echo $(($(date +%s) - began)) >/seconds \
 && apt-get clean \
 && echo $(($(du -smx / | cut -f1) - before)) >/megabytes \
 && rm /tmp/*.deb
