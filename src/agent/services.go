package agent

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"homeconf/src/model"
	"homeconf/src/options"
)

// services says which of the owner's services run, going by their processes.
// All processes are looked through once, whatever the number of services.
func services(list []options.Service) []model.Service {
	var out []model.Service
	wanted := map[string]model.ServiceState{}
	for _, s := range list {
		if s.Process != "" {
			wanted[commOf(s.Process)] = model.ServiceStopped
		}
	}
	lookThrough("/proc", wanted)
	for _, s := range list {
		state := model.ServiceUnknown
		if s.Process != "" {
			state = wanted[commOf(s.Process)]
		}
		out = append(out, model.Service{Name: s.Name, Kind: s.Kind, State: state, Expose: s.Expose})
	}
	return out
}

// commOf is what the kernel keeps of a process's name (TASK_COMM_LEN).
func commOf(process string) string { return process[:min(len(process), 15)] }

// lookThrough marks the names that are those of processes; all are unknown when
// the processes can't be listed. It opens nothing but one small file for each
// process, without os.File's ado, for a slow device has a hundred of them.
func lookThrough(proc string, wanted map[string]model.ServiceState) {
	if len(wanted) == 0 {
		return
	}
	var names []string
	dir, err := os.Open(proc)
	if err == nil {
		names, err = dir.Readdirnames(-1)
		dir.Close()
	}
	if err != nil {
		for name := range wanted {
			wanted[name] = model.ServiceUnknown
		}
		return
	}
	left := len(wanted)
	for _, n := range names {
		if _, err := strconv.Atoi(n); err != nil || left == 0 {
			continue
		}
		name, ok := comm(proc + "/" + n + "/comm")
		if state, asked := wanted[name]; ok && asked && state != model.ServiceRunning {
			wanted[name] = model.ServiceRunning
			left--
		}
	}
}

// comm reads a process's name; a process that has ended meanwhile has none.
func comm(path string) (string, bool) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	defer unix.Close(fd)
	var b [32]byte
	n, err := unix.Read(fd, b[:])
	if err != nil || n <= 0 {
		return "", false
	}
	return string(bytes.TrimSuffix(b[:n], []byte("\n"))), true
}
