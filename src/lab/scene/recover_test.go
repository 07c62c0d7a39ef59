package scene_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeconf/src/calls"
	"homeconf/src/lab/scene"
	"homeconf/src/model"
)

// TestRecover: the gateway loses everything of homeconf's. Its devices refuse
// whoever comes instead, and come back by the recovery file; then the home gets
// a new key. By the real program, as a person types it.
func TestRecover(t *testing.T) {
	ctx := within(t, 180*time.Second)
	r, err := scene.Many(ctx, newLab(t), binary(t, ""), 2)
	if err != nil {
		t.Fatal(err)
	}
	h := r.Home
	file := filepath.Join(t.TempDir(), "home.recovery")
	var kept calls.BackupResult
	if err := h.Say(ctx, h.RunDir, &kept, "backup", file); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o600 || len(kept.Passphrase) != 19 || kept.Devices != 2 {
		t.Fatalf("%v, %v, %+v", st, err, kept.Devices)
	}
	addresses := map[model.DeviceID]string{}
	var ids []model.DeviceID
	home := ""
	for _, b := range r.Boxes {
		st, err := b.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		home = st.Home
		ids = append(ids, st.Device)
		addresses[st.Device] = st.Settings.Address.String()
	}
	// A name that is in no recovery file: only its agent keeps it.
	if err := h.Call(ctx, "device_set", calls.Args{"id": string(ids[0]), "name": "Bob's TV"}, nil); err != nil {
		t.Fatal(err)
	}
	sealed := filepath.Join(r.Boxes[0].StateDir, "agent-sealed.bin")
	first, err := os.ReadFile(sealed)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := scene.Until(ctx, "the agent to keep its record", func() (bool, error) {
		b, err := os.ReadFile(sealed)
		return err == nil && string(b) != string(first), nil
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)

	log := func() string {
		t.Helper()
		b, err := os.ReadFile(h.Configurator.Log)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	logs := log()
	h.Configurator.Kill()
	for _, dir := range []string{h.StateDir, h.RunDir} {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	if err := h.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	for _, b := range r.Boxes {
		if st, err := b.Status(ctx); err != nil || st.Home != home || st.Settings.Address.String() != addresses[st.Device] {
			t.Errorf("another home has it: %+v, %v", st, err)
		}
	}

	var list calls.DevicesResult
	if err := h.Say(ctx, h.RunDir, &list, "device", "list"); err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Devices {
		if d.Agent {
			t.Errorf("the new home has %+v", d)
		}
	}
	pass := filepath.Join(t.TempDir(), "passphrase")
	var done calls.DoneResult
	if err := os.WriteFile(pass, []byte("not the passphrase\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Say(ctx, h.RunDir, &done, "restore", file, "--passphrase-file", pass); err == nil || strings.Contains(err.Error(), "not the pass") {
		t.Errorf("wrong passphrase: %v", err)
	}
	if err := os.WriteFile(pass, []byte(kept.Passphrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := h.Say(ctx, h.RunDir, &done, "restore", file, "--passphrase-file", pass); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		d, err := h.Configured(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if !d.Record.Restored || d.Record.Desired.Address.String() != addresses[id] || (d.Record.Choice.Name == "Bob's TV") != (i == 0) {
			t.Errorf("%+v", d.Record)
		}
	}
	t.Logf("back %v after restore", time.Since(began))
	for _, b := range r.Boxes {
		if err := b.ReachesOutside(ctx); err != nil {
			t.Error(err)
		}
	}

	var key calls.KeyResult
	if err := h.Say(ctx, h.RunDir, &key, "key", "rotate"); err != nil {
		t.Fatal(err)
	}
	if key.Home == home || key.Term != 2 {
		t.Errorf("key: %+v", key)
	}
	if err := scene.Until(ctx, "every device to have the new key", func() (bool, error) {
		key = calls.KeyResult{} // what is left out in JSON is not so
		err := h.Say(ctx, h.RunDir, &key, "key", "status")
		return err == nil && key.Former == "", err
	}); err != nil {
		t.Fatal(err)
	}
	for _, b := range r.Boxes {
		b.Agent.Kill()
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
		if err := scene.Until(ctx, "it to come by the new key", func() (bool, error) {
			st, err := b.Status(ctx)
			return err == nil && st.State == calls.AgentConnected && st.Home == key.Home, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	events, err := h.Events(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{kept.Passphrase, "hcprivkey"} {
		if strings.Contains(logs+log()+fmt.Sprint(events), secret) {
			t.Error("a secret is in a log or an event")
		}
	}
}
