package configurator

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"homeconf/src/calls"
	"homeconf/src/model"
)

// restoreGrace is how long a restored home waits, so that the answer is out
// before everything is opened anew.
const restoreGrace = 100 * time.Millisecond

// answerBackup writes the recovery file. The passphrase that it makes is in the
// answer and nowhere else.
func (c *Configurator) answerBackup(ctx context.Context, args calls.Args) (any, error) {
	var r recovery
	devices := 0
	if err := c.askLoop(ctx, func() {
		ro := c.keeping.roster
		if ro.update(c.store.All(), c.home.fingerprint()) {
			c.saveRoster()
		}
		f := c.home.file()
		r = recovery{Key: f.Key, Discovery: f.Discovery, Term: f.Term, Former: f.Former, Roster: ro.text(c.home.term)}
		devices = ro.count(func(e *entry) bool { return !e.Gone })
	}); err != nil {
		return nil, err
	}
	out := calls.BackupResult{File: args.String("file"), Devices: devices}
	passphrase := args.String("passphrase")
	if passphrase == "" {
		passphrase = newPassphrase()
		out.Passphrase = passphrase
	}
	b, err := encryptRecovery(r, []byte(passphrase), recoveryWork)
	if err == nil {
		err = writeRecovery(out.File, b)
	}
	if err != nil {
		return nil, calls.Errorf(calls.Failed, "%w", err)
	}
	err = c.askLoop(ctx, func() {
		c.tell("home.backed-up", "", "person", fmt.Sprintf("A recovery file was written to %s.", out.File))
	})
	return out, err
}

// askLoop is box.ask with its errors as an answer's.
func (c *Configurator) askLoop(ctx context.Context, f func()) error {
	err := c.box.ask(ctx, f)
	if err == errBusy {
		return calls.Errorf(calls.Busy, "%w", err)
	}
	return err
}

// writeRecovery puts the file in its place whole, readable by its owner alone.
// What stands there and is no recovery file is left alone.
func writeRecovery(path string, b []byte) (err error) {
	if have, err := readRecovery(path); err == nil && !bytes.HasPrefix(have, []byte(recoveryMagic)) || err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is there already and is no recovery file; it is left alone", path)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".homeconf-*") // mode 0600, and never a file that is there
	if err != nil {
		return fmt.Errorf("writing the recovery file: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the recovery file: %w", err), os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("writing the recovery file: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

func readRecovery(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(errNotRecovery, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRecovery+1))
	if err == nil && len(b) > maxRecovery {
		err = errNotRecovery
	}
	return b, err
}

// answerRestore makes this configurator the one of a recovery file's home. Its
// term is raised by one, on disk, before anything is done with its key.
func (c *Configurator) answerRestore(ctx context.Context, args calls.Args) (any, error) {
	b, err := readRecovery(args.String("file"))
	if err != nil {
		return nil, calls.Errorf(calls.Failed, "reading the recovery file: %w", err)
	}
	r, err := decryptRecovery(b, []byte(args.String("passphrase")))
	if err != nil {
		return nil, calls.Errorf(calls.Failed, "%w", err)
	}
	h, err := r.home()
	if err != nil {
		return nil, calls.Errorf(calls.Failed, "%w", err)
	}
	devices := len(r.Roster.Devices)
	if asked := c.askLoop(ctx, func() { err = c.restore(h, args.Bool("yes")) }); asked != nil {
		return nil, asked
	}
	if err != nil {
		return nil, err
	}
	return calls.DoneResult{Text: fmt.Sprintf("The home was restored. It knows of %s, which come back by themselves.", counted(devices, "device"))}, nil
}

// home is the home of a recovery file, of another instance.
func (r *recovery) home() (*home, error) {
	f := homeFile{Version: homeVersion, Key: r.Key, Discovery: r.Discovery, Instance: hex.EncodeToString(make([]byte, 16)),
		Term: r.Term, Former: r.Former, Restored: &r.Roster}
	h, err := f.home()
	if err != nil {
		return nil, fmt.Errorf("the recovery file: %w", err)
	}
	rand.Read(h.instance[:])
	return h, nil
}

func (c *Configurator) restore(h *home, yes bool) error {
	same := h.key.Equal(c.home.key)
	members := 0
	for _, r := range c.store.All() {
		if r.State == model.DeviceAdopted && r.Key != nil {
			members++
		}
	}
	switch {
	case members > 0 && !yes:
		return calls.Errorf(calls.InvalidArgument, "this home has %s already, which would have to be paired anew if it is another; --yes restores all the same", counted(members, "device"))
	case c.restoring:
		return calls.Errorf(calls.Busy, "a home is being restored already")
	}
	h.fresh = !same
	h.term++
	if same {
		h.term = max(h.term, c.home.term+1)
		h.instance, h.allowed = c.home.instance, c.home.allowed
	}
	c.cfg.Step("restore.begin")
	if err := h.save(c.cfg.StateDir); err != nil {
		return calls.Errorf(calls.Failed, "%w", err)
	}
	c.cfg.Step("restore.stored")
	c.home, c.restoring = h, true
	c.tell("home.restoring", "", "person", "The home of a recovery file was put in the place of this one.")
	c.after(restoreGrace, func() { c.end(errAgain) })
	return nil
}

// beginAnew forgets the devices of the home that another one took the place of.
func (c *Configurator) beginAnew() error {
	if !c.home.fresh {
		return nil
	}
	for _, r := range c.store.All() {
		if r.Key != nil {
			if err := c.store.Delete(r.ID); err != nil {
				return fmt.Errorf("forgetting the devices of the home before: %w", err)
			}
			c.cfg.Step("restore.forgot")
		}
	}
	h := *c.home
	h.fresh = false
	if err := h.save(c.cfg.StateDir); err != nil {
		return err
	}
	c.home = &h
	return nil
}
