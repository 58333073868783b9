package binlog

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-mysql-org/go-mysql/client"
)

// Backlog asks a server how long its binary log is. It is for one goroutine.
// Its connection ends with the context of the call that opened it.
type Backlog struct {
	cfg    Config
	server Server
	conn   *client.Conn
	// identity is that of the server that conn leads to.
	identity string
}

// NewBacklog makes one; it connects when it is first asked.
func NewBacklog(cfg Config, server Server) *Backlog { return &Backlog{cfg: cfg, server: server} }

// Close ends the connection.
func (b *Backlog) Close() {
	if b.conn != nil {
		_ = b.conn.Close()
		b.conn = nil
	}
}

// LogEnd is where a server's binary log ended when it was asked.
type LogEnd struct {
	// Server is the server's Identity.
	Server string
	// Files are the last ones, oldest first, and how far they went, in bytes.
	Files []LogFile
}

// LogFile is a file of the binary log.
type LogFile struct {
	Name string
	Size uint64 // bytes
}

// After says how many bytes of the log come after a position: 0 if it is at
// the end or beyond. ok is false if it is none of that server's log.
func (e LogEnd) After(p Position) (bytes uint64, ok bool) {
	if len(e.Files) == 0 || p.File == "" || p.log.server != e.Server {
		return 0, false
	}
	if older(e.Files[len(e.Files)-1].Name, p.File) {
		return 0, true // begun since
	}
	for _, f := range e.Files {
		switch {
		case older(f.Name, p.File):
		case f.Name != p.File:
			bytes += f.Size
		case f.Size > p.Offset:
			bytes += f.Size - p.Offset
		}
	}
	return bytes, true
}

// End asks where the log ends now. The answer is good for positions from one on.
func (b *Backlog) End(ctx context.Context, from Position) (LogEnd, error) {
	end, err := b.end(ctx, from)
	if err != nil {
		b.Close()
		return LogEnd{}, fmt.Errorf("ask %s where its binary log ends: %w", b.cfg.Addr, err)
	}
	return end, nil
}

func (b *Backlog) end(ctx context.Context, from Position) (LogEnd, error) {
	if err := b.open(ctx); err != nil {
		return LogEnd{}, err
	}
	status, ok, err := logStatus(b.conn, b.server.Flavor)
	if err != nil {
		return LogEnd{}, err
	}
	if !ok {
		return LogEnd{}, fatal("the server writes no binary log any more (log_bin)")
	}
	last := LogFile{}
	if last.Name, last.Size, err = fileAndOffset(status); err != nil {
		return LogEnd{}, err
	}
	end := LogEnd{Server: b.identity, Files: []LogFile{last}}
	if from.File == last.Name {
		return end, nil // nearly always, and the list can be long
	}
	files, err := listLogs(b.conn)
	if err != nil {
		return LogEnd{}, err
	}
	files = slices.DeleteFunc(files, func(f LogFile) bool { return older(f.Name, from.File) || !older(f.Name, last.Name) })
	end.Files = append(files, last)
	return end, nil
}

func (b *Backlog) open(ctx context.Context) error {
	if b.conn != nil {
		return nil
	}
	conn, err := b.cfg.connect(ctx)
	if err != nil {
		return err
	}
	if b.identity, err = identity(conn, b.server.Flavor); err != nil {
		_ = conn.Close()
		return err
	}
	b.conn = conn
	return nil
}
