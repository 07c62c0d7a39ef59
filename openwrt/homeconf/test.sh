#!/bin/sh

case $1 in
homeconf) homeconf version | grep -F "$2" ;;
homeconf-agent) [ -x /etc/init.d/homeconf-agent ] ;;
esac
