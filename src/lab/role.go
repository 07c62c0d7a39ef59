package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// roleVariable turns this program into one of the lab's own processes: it holds
// the role's name.
const roleVariable = "HOMECONF_LAB_ROLE"

const roleSupervisor = "supervisor"

// A program that was started for a role plays it and nothing else. It has to
// happen here, as test binaries have a main of their own.
func init() {
	role := os.Getenv(roleVariable)
	if role == "" {
		return
	}
	err := fmt.Errorf("role %q: there is none of that name", role)
	if dirs := strings.Split(os.Getenv(roleVariable+"_ARGS"), "\n"); role == roleSupervisor && len(dirs) == 2 {
		err = supervise(dirs[0], dirs[1])
	}
	fmt.Fprintln(os.Stderr, "homeconf lab:", err)
	os.Exit(1)
}

// startRole starts this program again, for a role in the host.
func (h *Host) startRole(role string, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: start %s: %w", h.Name, role, err)
	}
	return h.StartEnv([]string{roleVariable + "=" + role, roleVariable + "_ARGS=" + strings.Join(args, "\n")}, self)
}
