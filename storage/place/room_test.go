package place

import (
	"testing"

	"github.com/lectern/lectern/storage/vfs"
	"github.com/lectern/lectern/storage/vfs/vfstest"
)

// asked is a file system that has somebody ask for the room while it resizes a file.
type asked struct {
	vfs.FS
	ask func()
}

type askedFile struct {
	vfs.File
	ask func()
}

func (a *asked) Create(path string) (vfs.File, error) {
	f, err := a.FS.Create(path)
	return &askedFile{f, a.ask}, err
}

func (f *askedFile) Resize(size int64) error {
	f.ask()
	return f.File.Resize(size)
}

// Cuts and metrics ask how much room there is. None of them waits for the disk, which may
// take its time to give room or to take it back.
func TestRoomIsKnownWhileTheDiskWorks(t *testing.T) {
	var p *Place
	asks := 0
	files := &asked{vfstest.New(1), func() {
		asks++
		if !p.room.mu.TryLock() {
			t.Fatal("whoever asks for the room waits for the disk")
		}
		p.room.mu.Unlock()
		if p.Free()+p.Bytes() != 1<<20 {
			t.Errorf("%d bytes are free and %d are not, of %d", p.Free(), p.Bytes(), 1<<20)
		}
	}}
	p = New(files, "dir", 1<<20)
	if err := files.MakeDir("dir"); err != nil {
		t.Fatal(err)
	}
	if err := p.Reserve(1000); err != nil {
		t.Fatal(err)
	}
	d, err := p.Draft(500)
	if err == nil {
		err = d.Publish("file", 400)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Settle()
	if asks != 3 || p.Bytes() != 1400 || p.room.taken != 1<<20-1400 {
		t.Errorf("%d resizes, %d bytes are used, %d reserved", asks, p.Bytes(), p.room.taken)
	}
}
