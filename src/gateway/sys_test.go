package gateway

import (
	"os"
	"syscall"
	"testing"
)

// hold takes libuci's lock on a file until the returned function is called.
func hold(t *testing.T, path string) func() {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() }
}

// setTTL lets multicast pass a router.
func setTTL(fd int) { syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, syscall.IP_MULTICAST_TTL, 8) }
