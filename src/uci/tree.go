package uci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	gouci "github.com/digineo/go-uci/v2"
)

// Tree gives a Dir the interface of go-uci, for programs written against that.
// It differs where go-uci loses something: files are read as libuci reads
// them, Commit takes libuci's lock and carries the changes out on the file as it
// is by then, comments stay, and Get never drops a change.
//
// It may be used by several goroutines.
type Tree struct {
	dir Dir

	mu      sync.Mutex
	configs map[string]*pending
}

var _ gouci.Tree = (*Tree)(nil)

// pending is a package with the changes that wait for Commit.
type pending struct {
	file     *File
	base     []byte // the file's text when it was loaded
	changes  []func(*File) error
	nameless bool // a change concerns a section without a name of its own
}

// NewTree makes a Tree of a folder.
func NewTree(dir Dir) *Tree { return &Tree{dir: dir, configs: map[string]*pending{}} }

// LoadConfig reads a package, again with forceReload, which drops its changes.
func (t *Tree) LoadConfig(name string, forceReload bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.configs[name] != nil && !forceReload {
		return gouci.ErrConfigAlreadyLoaded{Name: name}
	}
	_, err := t.load(name)
	return err
}

func (t *Tree) load(name string) (*pending, error) {
	f, err := t.dir.Load(name)
	if err != nil {
		return nil, err
	}
	p := &pending{file: f, base: f.Bytes()}
	t.configs[name] = p
	return p, nil
}

func (t *Tree) config(name string) (*pending, error) {
	if p := t.configs[name]; p != nil {
		return p, nil
	}
	return t.load(name)
}

// Commit writes all changes, package by package in the order of their names. The
// first error ends it; what is not written stays pending.
func (t *Tree) Commit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(t.configs)) {
		p := t.configs[name]
		if len(p.changes) == 0 {
			continue
		}
		_, err := t.dir.Edit(context.Background(), name, func(f *File) error {
			// Generated names and indexes shift, so they hold for one text only.
			if p.nameless && !bytes.Equal(f.Bytes(), p.base) {
				return fmt.Errorf("%s was changed by somebody else, and a section without a name can't be told any more", name)
			}
			for _, change := range p.changes {
				if err := change(f); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		delete(t.configs, name) // the next use reads what is there now
	}
	return nil
}

// Revert drops the changes of the packages named, or of all.
func (t *Tree) Revert(configs ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(configs) == 0 {
		clear(t.configs)
	}
	for _, name := range configs {
		delete(t.configs, name)
	}
}

// GetSections names the sections of a type; those without a name of their own
// as @type[n].
func (t *Tree) GetSections(config, secType string) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, err := t.config(config)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for i, s := range p.file.Sections(secType) {
		if s.Type() != secType {
			continue // Sections("") would be all
		}
		if s.Anonymous() {
			names = append(names, fmt.Sprintf("@%s[%d]", secType, i))
		} else {
			names = append(names, s.Name())
		}
	}
	return names, nil
}

// Get is an option's values. The section must be there, the option need not.
func (t *Tree) Get(config, section, option string) ([]string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, err := t.config(config)
	if err != nil {
		return nil, false
	}
	s, ok := p.file.Section(section)
	if !ok {
		return nil, false
	}
	return s.List(option), true
}

// GetLast is an option's last value.
func (t *Tree) GetLast(config, section, option string) (string, bool) {
	values, ok := t.Get(config, section, option)
	if !ok || len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

// GetBool reads an option's last value as OpenWrt's config_get_bool does; false,
// false when it is none.
func (t *Tree) GetBool(config, section, option string) (value, ok bool) {
	last, _ := t.GetLast(config, section, option)
	switch last {
	case "1", "on", "true", "yes", "enabled":
		return true, true
	case "0", "off", "false", "no", "disabled":
		return false, true
	}
	return false, false
}

// SetType gives an option its values: exactly one to an option, any number to a
// list. As everywhere in UCI an empty option and an empty list are none.
func (t *Tree) SetType(config, section, option string, typ gouci.OptionType, values ...string) error {
	if typ != gouci.TypeList && len(values) != 1 {
		return fmt.Errorf("%s.%s.%s: %d values for an option", config, section, option, len(values))
	}
	values = slices.Clone(values)
	return t.onSection(config, section, func(s *Section) error {
		if typ == gouci.TypeList {
			return s.SetList(option, values)
		}
		return s.Set(option, values[0])
	})
}

// Del removes an option, if it is there.
func (t *Tree) Del(config, section, option string) error {
	return t.onSection(config, section, func(s *Section) error {
		s.Unset(option)
		return nil
	})
}

// AddSection makes a section, in a new file where there is none. One of that
// name and type may be there already. Without a name it is always a new one.
func (t *Tree) AddSection(config, section, typ string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, err := t.config(config)
	if errors.Is(err, fs.ErrNotExist) {
		var f *File
		if f, err = Parse(config, nil); err == nil {
			p = &pending{file: f}
			t.configs[config] = p
		}
	}
	if err != nil {
		return err
	}
	return p.change(func(f *File) error {
		if s, ok := f.Section(section); ok {
			if s.Type() != typ {
				return gouci.ErrSectionTypeMismatch{Config: config, Section: section, ExistingType: s.Type(), NewType: typ}
			}
			return nil
		}
		_, err := f.Add(typ, section)
		return err
	})
}

// DelSection removes a section, if it is there.
func (t *Tree) DelSection(config, section string) error {
	err := t.onSection(config, section, func(s *Section) error {
		s.f.Delete(s)
		return nil
	})
	if errors.As(err, new(gouci.ErrSectionNotFound)) {
		return nil
	}
	return err
}

// onSection makes a change to a section, now in memory and at Commit in the file.
func (t *Tree) onSection(config, section string, change func(*Section) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, err := t.config(config)
	if err != nil {
		return err
	}
	s, ok := p.file.Section(section)
	if !ok {
		return gouci.ErrSectionNotFound{Section: section}
	}
	nameless := s.Anonymous()
	err = p.change(func(f *File) error {
		s, ok := f.Section(section)
		if !ok {
			return gouci.ErrSectionNotFound{Section: section}
		}
		return change(s)
	})
	p.nameless = p.nameless || nameless && err == nil
	return err
}

// change makes a change in memory and, when that went well, keeps it for Commit.
func (p *pending) change(change func(*File) error) error {
	if err := change(p.file); err != nil {
		return err
	}
	p.changes = append(p.changes, change)
	return nil
}
