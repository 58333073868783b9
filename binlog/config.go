package binlog

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
)

// Config says which server to read, and as whom.
type Config struct {
	// Addr is host:port, or the path of a Unix socket.
	Addr string
	User string
	// Password returns the password; it is asked at every connection.
	Password func() string
	// TLS returns how connections are encrypted, nil for not at all; it is
	// asked at every connection. It may be nil.
	TLS func() (*tls.Config, error)
	// ServerID is the replica id that chorusd takes; it must be no other's.
	ServerID uint32
	// Location is how DATETIME columns are to be read: Laravel's app.timezone.
	Location *time.Location
	// Logger must not be nil.
	Logger *slog.Logger
}

const (
	dialTimeout     = 5 * time.Second
	heartbeatPeriod = time.Second
	// readTimeout ends a half-open connection: three heartbeats missed.
	readTimeout = 3 * heartbeatPeriod
	// queryTimeout bounds the answer to one statement.
	queryTimeout = 30 * time.Second
)

// boundConn is a connection that is closed when a context ends: go-mysql's
// statements take none, and one may wait for queryTimeout.
type boundConn struct {
	net.Conn
	release func() bool
}

func (c *boundConn) Close() error {
	c.release()
	return c.Conn.Close()
}

func dialBound(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	// go-mysql sets deadlines only once a TLS handshake is over.
	if err := conn.SetReadDeadline(time.Now().Add(dialTimeout)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &boundConn{Conn: conn, release: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

// patientConn is a connection each of whose reads must come to something
// within readTimeout.
type patientConn struct{ net.Conn }

func (c patientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func dialPatient(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return patientConn{conn}, nil
}

// encryption asks for the present TLS settings.
func (c Config) encryption() (*tls.Config, error) {
	if c.TLS == nil {
		return nil, nil
	}
	cfg, err := c.TLS()
	if err != nil {
		return nil, &refusedError{err}
	}
	return cfg, nil
}

// connect opens an SQL connection whose session gives values in the forms
// that the text encoders read: UTF-8 text, TIMESTAMP in UTC. It ends with ctx.
func (c Config) connect(ctx context.Context) (*client.Conn, error) {
	encryption, err := c.encryption()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.Addr, err)
	}
	conn, err := client.ConnectWithDialer(ctx, "", c.Addr, c.User, c.Password(), "", dialBound,
		func(conn *client.Conn) error {
			conn.SetTLSConfig(encryption)
			conn.ReadTimeout = queryTimeout
			conn.WriteTimeout = queryTimeout
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("connect to %s as %s: %w", c.Addr, c.User, err)
	}
	// MariaDB 10.11 does not know the client's default collation, hence SET
	// NAMES. MySQL can be set to hide the primary keys that it makes itself
	// from the dictionary, though they are in the log; MariaDB skips that comment.
	if _, err := conn.Execute(`SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = ''` +
		` /*!80030 , SESSION show_gipk_in_create_table_and_information_schema = ON */`); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("set up the session on %s: %w", c.Addr, err)
	}
	return conn, nil
}

// rows runs a statement and returns its rows as text; NULL is nil.
func rows(conn *client.Conn, query string) ([][][]byte, error) {
	res, err := conn.Execute(query)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	out := make([][][]byte, len(res.Values))
	for i, row := range res.Values {
		out[i] = make([][]byte, len(row))
		for j := range row {
			out[i][j] = textOf(&row[j])
		}
	}
	return out, nil
}

// textOf copies a field's text; NULL is nil, an empty text is not.
func textOf(v *mysql.FieldValue) []byte {
	switch v.Type {
	case mysql.FieldValueTypeNull:
		return nil
	case mysql.FieldValueTypeString:
		return append(make([]byte, 0, len(v.AsString())), v.AsString()...)
	default:
		return fmt.Appendf(nil, "%v", v.Value())
	}
}
