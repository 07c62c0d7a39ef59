package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is a network namespace, and a folder for what its programs write.
type Host struct {
	Lab  *Lab
	Name string
	// Dir is the host's folder.
	Dir string
	// Namespace is the name to give to ip netns.
	Namespace string

	ns *os.File
}

var hostName = regexp.MustCompile(`^[a-z0-9_]{1,24}$`)

// Host makes a host that has only its loopback interface, up.
func (l *Lab) Host(name string) (*Host, error) {
	if !hostName.MatchString(name) {
		return nil, fmt.Errorf("make host %q: the name must match %v", name, hostName)
	}
	h := &Host{Lab: l, Name: name, Dir: filepath.Join(l.Dir, name), Namespace: prefix + l.ID + "-" + name}
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("make host %s: lab %s is closed", name, l.Name)
	}
	err := os.Mkdir(h.Dir, 0o755)
	if err == nil {
		err = command("ip", "netns", "add", h.Namespace)
	}
	if err == nil {
		h.ns, err = os.Open(filepath.Join(netns, h.Namespace))
	}
	if err != nil {
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	l.mu.Lock()
	l.hosts = append(l.hosts, h)
	l.mu.Unlock()
	return h, h.IP("link", "set", "lo", "up")
}

// Do calls f on a thread that is in the host's namespace. Sockets that f opens
// stay there; goroutines that f starts don't. A thread that can't return is
// thrown away with the goroutine that called.
func (h *Host) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter host %s: %w", h.Name, err)
	}
	defer home.Close()
	if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter host %s: %w", h.Name, err)
	}
	defer func() {
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// Run runs a program in the host and answers with what it printed, errors
// included.
func (h *Host) Run(ctx context.Context, cmd ...string) (string, error) {
	c := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.Namespace}, cmd...)...)
	c.Dir = h.Dir
	c.WaitDelay = time.Second
	out, err := c.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %s: %w: %s", h.Name, strings.Join(cmd, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// IP runs ip in the host.
func (h *Host) IP(args ...string) error {
	if err := command("ip", append([]string{"-n", h.Namespace}, args...)...); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// Sysctl writes kernel settings of the host's namespace, by their path below
// /proc/sys.
func (h *Host) Sysctl(settings map[string]string) error {
	return h.Do(func() error {
		for k, v := range settings {
			if err := os.WriteFile(filepath.Join("/proc/sys", k), []byte(v), 0); err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
		}
		return nil
	})
}

// Interface looks at one of the host's interfaces.
func (h *Host) Interface(name string) (ifi *net.Interface, err error) {
	err = h.Do(func() error {
		ifi, err = net.InterfaceByName(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: interface %s: %w", h.Name, name, err)
	}
	return ifi, nil
}

// Addresses lists the IPv4 addresses of one of the host's interfaces as
// prefixes in text.
func (h *Host) Addresses(name string) ([]string, error) {
	var out []string
	err := h.Do(func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		addrs, err := ifi.Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
				out = append(out, n.String())
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: addresses of %s: %w", h.Name, name, err)
	}
	return out, nil
}

// Connect joins two hosts by a veth. Both ends are down.
func (l *Lab) Connect(a *Host, ifA string, b *Host, ifB string) error {
	err := command("ip", "link", "add", ifA, "netns", a.Namespace, "type", "veth", "peer", "name", ifB, "netns", b.Namespace)
	if err != nil {
		return fmt.Errorf("connect %s and %s: %w", a.Name, b.Name, err)
	}
	return nil
}

// Bridge makes a bridge that is up, with its own MAC address, which would else
// change as ports join, and without a delay before ports forward. The ports are
// set up.
func (h *Host) Bridge(name, mac string, ports ...string) error {
	err := h.IP("link", "add", name, "address", mac, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
	for _, p := range ports {
		if err == nil {
			err = h.IP("link", "set", p, "master", name, "up")
		}
	}
	if err == nil {
		err = h.IP("link", "set", name, "up")
	}
	return err
}

// command runs a program and puts what it printed into the error.
func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
