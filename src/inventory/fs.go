package inventory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// FS is what the database asks of a filesystem: few calls, so that a test can
// stand for one and fail, or lose power, at each of them.
type FS interface {
	// ReadFile reads at most limit bytes; a longer file is an error.
	ReadFile(path string, limit int64) ([]byte, error)
	// WriteSynced writes a new file, and returns when it is on disk.
	WriteSynced(path string, b []byte, mode fs.FileMode) error
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes renames and removals in a folder last.
	SyncDir(path string) error
	// List names the regular files of a folder, sorted.
	List(path string) ([]string, error)
	MkdirAll(path string, mode fs.FileMode) error
}

var errTooLong = errors.New("file is too long")

// disk is the real FS.
type disk struct{}

func (disk) ReadFile(path string, limit int64) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes", path, errTooLong, info.Size())
	}
	return os.ReadFile(path)
}

func (disk) WriteSynced(path string, b []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(mode) // of a temporary file that a crash left
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (disk) Rename(from, to string) error { return os.Rename(from, to) }
func (disk) Remove(path string) error     { return os.Remove(path) }

func (disk) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (disk) List(path string) ([]string, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	entries, err := d.ReadDir(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (disk) MkdirAll(path string, mode fs.FileMode) error { return os.MkdirAll(path, mode) }

// memory is an FS that forgets everything, for simulations.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
}

// InMemory is a database's FS for simulated homes: nothing reaches a disk.
func InMemory() FS { return &memory{files: map[string][]byte{}} }

func (m *memory) ReadFile(path string, limit int64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if int64(len(b)) > limit {
		return nil, errTooLong
	}
	return slices.Clone(b), nil
}

func (m *memory) WriteSynced(path string, b []byte, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[path] = slices.Clone(b)
	return nil
}

func (m *memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[from]
	if !ok {
		return fs.ErrNotExist
	}
	delete(m.files, from)
	m.files[to] = b
	return nil
}

func (m *memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[path]; !ok {
		return fs.ErrNotExist
	}
	delete(m.files, path)
	return nil
}

func (m *memory) SyncDir(string) error               { return nil }
func (m *memory) MkdirAll(string, fs.FileMode) error { return nil }

func (m *memory) List(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for p := range m.files {
		if filepath.Dir(p) == filepath.Clean(path) {
			names = append(names, filepath.Base(p))
		}
	}
	slices.Sort(names)
	return names, nil
}

// AtomicWrite replaces a file whole: after a power cut at any instant it holds
// the old bytes or the new ones.
func AtomicWrite(path string, data []byte, mode fs.FileMode) error {
	return writeAll(disk{}, []file{{path, data}}, mode)
}

type file struct {
	path string
	data []byte
}

// writeAll replaces files of one folder together: every temporary file is on
// disk before the first rename, and the folder is synced once.
func writeAll(fsys FS, files []file, mode fs.FileMode) error {
	if err := writeSynced(fsys, files, mode); err != nil {
		for _, f := range files {
			fsys.Remove(f.path + tmpSuffix) // best effort: Open sweeps what stays
		}
		return err
	}
	for _, f := range files {
		if err := fsys.Rename(f.path+tmpSuffix, f.path); err != nil {
			return fmt.Errorf("replacing %s: %w", f.path, err)
		}
	}
	if len(files) == 0 {
		return nil
	}
	if err := fsys.SyncDir(filepath.Dir(files[0].path)); err != nil {
		return fmt.Errorf("syncing the folder: %w", err)
	}
	return nil
}

// atOnce is how many files are written side by side: the disk takes what waits
// for it in one go.
const atOnce = 8

// writeSynced writes temporary files and waits until they are on disk. Only a
// real disk is asked side by side; a model of one is asked in order.
func writeSynced(fsys FS, files []file, mode fs.FileMode) error {
	var g errgroup.Group
	g.SetLimit(1)
	if _, real := fsys.(disk); real {
		g.SetLimit(atOnce)
	}
	for _, f := range files {
		g.Go(func() error {
			if err := fsys.WriteSynced(f.path+tmpSuffix, f.data, mode); err != nil {
				return fmt.Errorf("writing %s: %w", f.path, err)
			}
			return nil
		})
	}
	return g.Wait()
}

const tmpSuffix = ".tmp"
