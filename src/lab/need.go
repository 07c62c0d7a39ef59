package lab

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Programs are what a Gateway needs, with the Debian packages that hold them.
var Programs = map[string]string{
	"ip": "iproute2", "bridge": "iproute2", "dnsmasq": "dnsmasq-base", "igmpproxy": "igmpproxy",
	"iptables": "iptables", "iptables-restore": "iptables", "nft": "nftables", "conntrack": "conntrack", "ping": "iputils-ping",
}

// Emulators run programs for other processors.
var Emulators = map[string]string{"qemu-mipsel-static": "qemu-user-static", "qemu-aarch64-static": "qemu-user-static"}

// An ordinary user's PATH often lacks these.
var programDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// program finds a program.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range programDirs {
		if err == nil {
			break
		}
		path, err = exec.LookPath(dir + "/" + name)
	}
	if err != nil {
		return "", fmt.Errorf("program %s not found (Debian package %s)", name, cmp.Or(Programs[name], Emulators[name]))
	}
	return path, nil
}

// Missing says what this machine lacks for a lab with the programs: nothing, or
// reasons for people to read.
func Missing(programs ...string) []string {
	var out []string
	if os.Geteuid() != 0 {
		out = append(out, "root's rights are needed for network namespaces")
	}
	for _, name := range append([]string{"ip"}, programs...) {
		if _, err := program(name); err != nil && !slices.Contains(out, err.Error()) {
			out = append(out, err.Error())
		}
	}
	return out
}

// Need skips a test that can't run here. Where CI=true nothing may be skipped:
// there it fails.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	switch why := strings.Join(Missing(programs...), "; "); {
	case why == "":
	case os.Getenv("CI") == "true":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}

// NeedGateway is Need for all that a Gateway runs.
func NeedGateway(t testing.TB) {
	t.Helper()
	var all []string
	for name := range Programs {
		all = append(all, name)
	}
	slices.Sort(all)
	Need(t, all...)
}
