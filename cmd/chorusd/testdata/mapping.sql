-- The tables that docs/MAPPING.md maps, with all columns of all its examples.
CREATE TABLE users (id BIGINT UNSIGNED PRIMARY KEY, tenant_id INT NOT NULL, company_id INT NOT NULL, department_id INT, role VARCHAR(20) NOT NULL, region VARCHAR(20), KEY (tenant_id), KEY (company_id));
CREATE TABLE platforms (id INT PRIMARY KEY, owner_id BIGINT UNSIGNED NOT NULL, KEY (owner_id));
CREATE TABLE platform_user (platform_id INT NOT NULL, user_id BIGINT UNSIGNED NOT NULL, role VARCHAR(20) NOT NULL, active TINYINT(1) NOT NULL, deleted_at TIMESTAMP NULL, expires_at DATETIME, PRIMARY KEY (platform_id, user_id), KEY (user_id));
CREATE TABLE teams (id INT PRIMARY KEY, user_id BIGINT UNSIGNED NOT NULL, KEY (user_id));
CREATE TABLE team_user (id INT PRIMARY KEY, team_id INT NOT NULL, user_id BIGINT UNSIGNED NOT NULL, KEY (team_id), KEY (user_id));
CREATE TABLE tenant_user_closure (tenant_id INT NOT NULL, user_id BIGINT UNSIGNED NOT NULL, PRIMARY KEY (user_id, tenant_id), KEY (tenant_id));
CREATE TABLE model_has_roles (role_id INT NOT NULL, model_type VARCHAR(190) NOT NULL, model_id BIGINT UNSIGNED NOT NULL, PRIMARY KEY (role_id, model_id, model_type), KEY (model_id, model_type));
CREATE TABLE enrolments (id INT PRIMARY KEY, course_id INT NOT NULL, user_id BIGINT UNSIGNED NOT NULL, paid TINYINT(1) NOT NULL, ends_at DATETIME NOT NULL, KEY (course_id), KEY (user_id));

CREATE TABLE todos (id INT PRIMARY KEY, user_id BIGINT UNSIGNED NOT NULL, title VARCHAR(50), done TINYINT(1), price DECIMAL(8,2), meta JSON, updated_at TIMESTAMP NULL, KEY (user_id));
CREATE TABLE messages (id INT PRIMARY KEY, tenant_id INT NOT NULL, platform_id INT NOT NULL, user_id BIGINT UNSIGNED NOT NULL, body TEXT, created_at TIMESTAMP NULL, KEY (tenant_id), KEY (platform_id), KEY (user_id));
CREATE TABLE threads (id INT PRIMARY KEY, owner_id BIGINT UNSIGNED NOT NULL, KEY (owner_id));
CREATE TABLE posts (id INT PRIMARY KEY, uuid CHAR(36) NOT NULL UNIQUE, platform_id INT NOT NULL, team_id INT NOT NULL, thread_id INT NOT NULL, author_id BIGINT UNSIGNED NOT NULL, title VARCHAR(50), KEY (platform_id), KEY (team_id), KEY (thread_id), KEY (author_id));
CREATE TABLE comments (id INT PRIMARY KEY, post_id INT NOT NULL, user_id BIGINT UNSIGNED NOT NULL, body TEXT, content TEXT, is_approved TINYINT(1) NOT NULL, created_at TIMESTAMP NULL, KEY (post_id), KEY (user_id));
CREATE TABLE purchases (org_id INT NOT NULL, order_no INT NOT NULL, team_id INT NOT NULL, PRIMARY KEY (org_id, order_no), KEY (team_id));
CREATE TABLE orders (id INT PRIMARY KEY, tenant_id INT NOT NULL, number VARCHAR(20), total DECIMAL(10,2), KEY (tenant_id));
CREATE TABLE `lines` (org_id INT NOT NULL, order_no INT NOT NULL, line INT NOT NULL, item VARCHAR(50), PRIMARY KEY (org_id, order_no, line));
CREATE TABLE attachments (id INT PRIMARY KEY, post_uuid CHAR(36) NOT NULL, path VARCHAR(190), KEY (post_uuid));
CREATE TABLE reactions (id INT PRIMARY KEY, reactable_type VARCHAR(190) NOT NULL, reactable_id INT NOT NULL, emoji VARCHAR(8), KEY (reactable_type, reactable_id));
CREATE TABLE articles (id INT PRIMARY KEY, region VARCHAR(20), title VARCHAR(50), body TEXT, status VARCHAR(20) NOT NULL, created_at TIMESTAMP NULL, published_at DATETIME, deleted_at TIMESTAMP NULL, KEY (published_at));
CREATE TABLE employees (id INT PRIMARY KEY, company_id INT NOT NULL, user_id BIGINT UNSIGNED NOT NULL, manager_id INT, name VARCHAR(50), first_name VARCHAR(25), last_name VARCHAR(25), salary DECIMAL(10,2), email VARCHAR(50), phone VARCHAR(20), iban VARCHAR(40), ssn VARCHAR(20), KEY (company_id));
CREATE TABLE categories (id INT PRIMARY KEY, name VARCHAR(50), slug VARCHAR(50), sort_order INT);
CREATE TABLE projects (id INT PRIMARY KEY, name VARCHAR(50), description TEXT, status VARCHAR(20), team_id INT NOT NULL, KEY (team_id));
CREATE TABLE invoices (id INT PRIMARY KEY, tenant_id INT NOT NULL, number VARCHAR(20), amount DECIMAL(10,2), KEY (tenant_id));
CREATE TABLE documents (id INT PRIMARY KEY, title VARCHAR(50), visibility VARCHAR(20) NOT NULL, department_id INT, budget DECIMAL(10,2), created_at TIMESTAMP NULL);
CREATE TABLE announcements (id INT PRIMARY KEY, role_id INT NOT NULL, text TEXT, KEY (role_id));
CREATE TABLE tasks (id INT PRIMARY KEY, title VARCHAR(50), status VARCHAR(20), assignee_id BIGINT UNSIGNED NOT NULL, creator_id BIGINT UNSIGNED NOT NULL, due_date DATE, KEY (assignee_id), KEY (creator_id));
CREATE TABLE news (id INT PRIMARY KEY, title VARCHAR(50), status VARCHAR(20) NOT NULL, published_at DATETIME, KEY (published_at));
CREATE TABLE offers (id INT PRIMARY KEY, title VARCHAR(50), expires_at DATETIME, KEY (expires_at));
CREATE TABLE lessons (id INT PRIMARY KEY, course_id INT NOT NULL, title VARCHAR(50), KEY (course_id));
CREATE TABLE events (id INT PRIMARY KEY, name VARCHAR(50), start_time DATETIME, end_time DATETIME, creator_id BIGINT UNSIGNED NOT NULL, is_public TINYINT(1) NOT NULL, KEY (creator_id), KEY (end_time));
CREATE TABLE devices (id INT PRIMARY KEY, user_id BIGINT UNSIGNED NOT NULL, name VARCHAR(50), public_key TEXT, KEY (user_id));
CREATE TABLE chats (id INT PRIMARY KEY, user_id BIGINT UNSIGNED NOT NULL, title VARCHAR(50), archived_at TIMESTAMP NULL, deleted_at TIMESTAMP NULL, KEY (user_id));

CREATE TABLE app_archive.`user notes` (user_id BIGINT UNSIGNED NOT NULL, slug VARCHAR(50) NOT NULL, body TEXT, pinned TINYINT(1), tags JSON, PRIMARY KEY (user_id, slug));
CREATE TABLE tenant_a.tasks (id INT PRIMARY KEY, user_id BIGINT UNSIGNED NOT NULL, board_id INT NOT NULL, title VARCHAR(50), KEY (user_id), KEY (board_id));
CREATE TABLE tenant_a.board_user (id INT PRIMARY KEY, board_id INT NOT NULL, user_id BIGINT UNSIGNED NOT NULL, KEY (board_id), KEY (user_id));
