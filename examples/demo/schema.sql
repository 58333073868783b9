-- The app's database, as Laravel migrations and seeders might leave it.

CREATE DATABASE app CHARACTER SET utf8mb4;
USE app;

CREATE TABLE users (
  id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name        VARCHAR(100) NOT NULL,
  platform_id BIGINT UNSIGNED NOT NULL
);

CREATE TABLE todos (
  id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  user_id       BIGINT UNSIGNED NOT NULL,
  title         VARCHAR(200) NOT NULL,
  done          TINYINT(1) NOT NULL DEFAULT 0,
  hours         DECIMAL(6, 2) NOT NULL DEFAULT 1.00,
  internal_note VARCHAR(200) NULL,
  created_at    TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at    TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  KEY (user_id)
);

CREATE TABLE notes (
  id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  platform_id BIGINT UNSIGNED NOT NULL,
  body        VARCHAR(200) NOT NULL,
  created_at  TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at  TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  KEY (platform_id)
);

INSERT INTO users (id, name, platform_id) VALUES (1, 'Ada', 3), (2, 'Grace', 3);

INSERT INTO todos (user_id, title, done, hours, internal_note) VALUES
  (1, 'Translate Menabrea''s paper', 1, 12.00, 'paid by the page'),
  (2, 'Wire up the Mark I', 1, 8.00, 'key is with Howard'),
  (1, 'Add a note G', 0, 3.50, 'longer than the paper'),
  (2, 'Tape the moth into the logbook', 0, 0.25, 'relay 70, panel F'),
  (1, 'Ask Babbage for the drawings', 0, 0.50, 'he is late again'),
  (2, 'Draft FLOW-MATIC', 0, 6.75, 'English words, please'),
  (1, 'Let the engine weave algebra', 0, 2.00, NULL),
  (2, 'Cut a nanosecond of wire', 0, 0.75, '29.98 cm each');

INSERT INTO notes (platform_id, body) VALUES
  (3, 'Welcome to platform 3: this board is one shared channel'),
  (4, 'Platform 4 only: nobody here may see this');
