package inventory

import "path/filepath"

// ReadBeside reads a file that stands beside the records, of at most limit bytes.
func (s *Store) ReadBeside(name string, limit int64) ([]byte, error) {
	return s.fs.ReadFile(filepath.Join(s.dir, name), limit)
}

// WriteBeside replaces such a file whole.
func (s *Store) WriteBeside(name string, b []byte) error {
	return writeAll(s.fs, []file{{filepath.Join(s.dir, name), b}}, 0o600)
}

// SetBesideAside puts one that can't be read where a person may look at it.
func (s *Store) SetBesideAside(name string) error {
	path := filepath.Join(s.dir, name)
	return s.fs.Rename(path, path+".bad")
}
