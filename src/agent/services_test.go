package agent

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"homeconf/src/model"
	"homeconf/src/options"
)

func TestServices(t *testing.T) {
	self, ok := comm("/proc/self/comm")
	if !ok {
		t.Fatal("no name of our own")
	}
	got := services([]options.Service{{Name: "a", Kind: "iptv", Process: self}, {Name: "b", Process: "no-such-process-anywhere"}, {Name: "c"},
		{Name: "d", Process: self, Expose: []model.Port{{Protocol: model.TCP, Number: 443}}}})
	want := []model.Service{{Name: "a", Kind: "iptv", State: model.ServiceRunning}, {Name: "b", State: model.ServiceStopped},
		{Name: "c", State: model.ServiceUnknown}, {Name: "d", State: model.ServiceRunning, Expose: []model.Port{{Protocol: model.TCP, Number: 443}}}}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	if services(nil) != nil {
		t.Error("services out of nothing")
	}
}

func TestLookThrough(t *testing.T) {
	proc := t.TempDir()
	for pid, name := range map[string]string{"1": "init\n", "77": "a-very-long-nam\n", "88": "odd name", "x1": "no-process\n", "99": ""} {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "comm"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wanted := map[string]model.ServiceState{}
	for _, name := range []string{"init", commOf("a-very-long-name-indeed"), "odd name", "no-process", "gone"} {
		wanted[name] = model.ServiceStopped
	}
	lookThrough(proc, wanted)
	for name, want := range map[string]model.ServiceState{"init": model.ServiceRunning, "a-very-long-nam": model.ServiceRunning, "odd name": model.ServiceRunning,
		"no-process": model.ServiceStopped, "gone": model.ServiceStopped} {
		if wanted[name] != want {
			t.Errorf("%s is %s, want %s", name, wanted[name], want)
		}
	}
	lookThrough(filepath.Join(proc, "nothing"), wanted)
	if wanted["init"] != model.ServiceUnknown {
		t.Errorf("without a list of processes: %s", wanted["init"])
	}
}

func BenchmarkServices(b *testing.B) {
	list := []options.Service{{Name: "a", Process: "no-such-process-anywhere"}, {Name: "b", Process: "nor-this-one"}}
	for b.Loop() {
		services(list)
	}
}
