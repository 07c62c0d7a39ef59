package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// labs is where each lab has its folder. It is on a disk where /tmp is,
	// so that an fsync costs what it costs.
	labs = "/tmp/homeconf-lab"
	// netns is where ip netns keeps its names.
	netns = "/run/netns"
	// prefix begins the name of every namespace of a lab.
	prefix = "hclab-"
)

// Lab is a set of hosts that goes away as a whole.
type Lab struct {
	// Name is what New was given; ID is unique on this machine.
	Name, ID string
	// Dir is the lab's folder. Each host has one in it.
	Dir string

	lock   *os.File // flock: the lab is alive
	leash  *os.File // the reaper cleans up when it closes
	reaper *exec.Cmd

	mu        sync.Mutex
	hosts     []*Host
	processes []*Process
	closers   []func()
	closed    bool
}

var count atomic.Int32

// New makes a lab without hosts. What dead labs left is removed first.
func New(name string) (*Lab, error) {
	if len(Missing()) > 0 {
		return nil, fmt.Errorf("make lab %s: %s", name, strings.Join(Missing(), "; "))
	}
	if path := os.Getenv("PATH"); !strings.Contains(path, "/usr/sbin") {
		os.Setenv("PATH", path+":"+strings.Join(programDirs, ":"))
	}
	l := &Lab{Name: name, ID: fmt.Sprintf("%d-%d", os.Getpid(), count.Add(1))}
	l.Dir = filepath.Join(labs, l.ID)
	if err := l.open(); err != nil {
		l.Close()
		return nil, fmt.Errorf("make lab %s: %w", name, err)
	}
	return l, nil
}

// open makes the folder, locks it and starts the reaper.
func (l *Lab) open() error {
	guard, err := lockLabs()
	if err != nil {
		return err
	}
	defer guard.Close()
	if err := sweep(); err != nil {
		return err
	}
	if err := os.Mkdir(l.Dir, 0o755); err != nil {
		return err
	}
	if l.lock, err = os.OpenFile(filepath.Join(l.Dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(l.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s: %w", l.Dir, err)
	}
	return l.startReaper()
}

// startReaper starts a shell that waits for our end, whichever it is, and then
// does what Close would have done. A session of its own keeps it from the
// terminal's signals.
func (l *Lab) startReaper() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	const script = `cat >/dev/null
for round in 1 2 3; do
	for ns in /run/netns/"$1"-*; do
		[ -e "$ns" ] || continue
		for pid in $(ip netns pids "${ns##*/}"); do kill -9 "$pid"; done
		ip netns del "${ns##*/}"
	done
done 2>/dev/null
rm -rf "$2"`
	l.reaper = exec.Command("sh", "-c", script, "reaper", prefix+l.ID, l.Dir)
	l.reaper.Stdin = r
	l.reaper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := l.reaper.Start(); err != nil {
		w.Close()
		return err
	}
	l.leash = w
	return nil
}

// Close ends all processes and removes all hosts. It may be called again.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	processes, hosts, closers := l.processes, l.hosts, l.closers
	l.mu.Unlock()
	for _, f := range slices.Backward(closers) {
		f()
	}
	for _, p := range slices.Backward(processes) {
		p.Kill()
	}
	var errs []error
	for _, h := range hosts {
		h.ns.Close()
	}
	if l.reaper != nil {
		l.leash.Close()
		if err := l.reaper.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("clean up: %w", err))
		}
	}
	errs = append(errs, remove(l.ID))
	if l.lock != nil {
		l.lock.Close()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close lab %s: %w", l.Name, err)
	}
	return nil
}

// onClose has f called by Close, before processes end. It says false when the
// lab is closed already.
func (l *Lab) onClose(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closers = append(l.closers, f)
	}
	return !l.closed
}

// lockLabs keeps other processes from making and sweeping labs meanwhile.
func lockLabs() (*os.File, error) {
	if err := os.Mkdir(labs, 0o755); err != nil && !os.IsExist(err) {
		return nil, err
	}
	// Others may write to /tmp: what stands there must be ours.
	fi, err := os.Lstat(labs)
	if err != nil {
		return nil, err
	}
	if st := fi.Sys().(*syscall.Stat_t); !fi.IsDir() || int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s is not a folder of ours", labs)
	}
	f, err := os.OpenFile(filepath.Join(labs, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes what dead labs left. lockLabs is held.
func sweep() error {
	var errs []error
	for _, id := range known() {
		f, err := os.OpenFile(filepath.Join(labs, id, ".lock"), os.O_RDWR, 0)
		if err == nil {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			f.Close()
			if err != nil {
				continue // alive
			}
		}
		errs = append(errs, remove(id))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what dead labs left: %w", err)
	}
	return nil
}

// known lists the labs that have a folder or a namespace.
func known() []string {
	var ids []string
	add := func(id string) {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	dirs, _ := os.ReadDir(labs)
	for _, d := range dirs {
		if d.IsDir() {
			add(d.Name())
		}
	}
	names, _ := os.ReadDir(netns)
	for _, n := range names {
		if rest, ok := strings.CutPrefix(n.Name(), prefix); ok {
			if pid, rest, ok := strings.Cut(rest, "-"); ok {
				n, _, _ := strings.Cut(rest, "-")
				add(pid + "-" + n)
			}
		}
	}
	return ids
}

// remove kills what runs in a lab's namespaces and removes them and the folder.
func remove(id string) error {
	var errs []error
	names, _ := os.ReadDir(netns)
	for _, n := range names {
		if !strings.HasPrefix(n.Name(), prefix+id+"-") {
			continue
		}
		pids, _ := exec.Command("ip", "netns", "pids", n.Name()).Output()
		for _, word := range strings.Fields(string(pids)) {
			pid, err := strconv.Atoi(word)
			if err == nil {
				err = unix.Kill(pid, unix.SIGKILL)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("kill process %s in %s: %w", word, n.Name(), err))
			}
		}
		out, err := exec.Command("ip", "netns", "del", n.Name()).CombinedOutput()
		if _, gone := os.Lstat(filepath.Join(netns, n.Name())); err != nil && !os.IsNotExist(gone) {
			// Its own reaper may have been faster.
			errs = append(errs, fmt.Errorf("remove namespace %s: %w: %s", n.Name(), err, out))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(labs, id)))...)
}
