#!/bin/sh
# MariaDB under the name and environment of the mysql image:
#   MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD, MYSQL_DATABASE, MYSQL_USER, MYSQL_PASSWORD
# The data is in /var/lib/mysql; a volume there keeps it.
set -eu
data=/var/lib/mysql
share=/usr/share/mysql

case ${1:-mysqld} in
  mysqld | mariadbd | -*) ;;
  *) exec "$@" ;;
esac
[ "${1:-}" != mysqld ] && [ "${1:-}" != mariadbd ] || shift

if [ -z "${MYSQL_ROOT_PASSWORD:-}" ] && [ -z "${MYSQL_ALLOW_EMPTY_PASSWORD:-}" ] && [ ! -d $data/mysql ]; then
  echo 'mysql: cannot initialize the database: set MYSQL_ROOT_PASSWORD or MYSQL_ALLOW_EMPTY_PASSWORD' >&2
  exit 1
fi

mkdir -p $data /run/mysqld
chown mysql:mysql $data /run/mysqld
quote() { printf "'%s'" "$(printf %s "$1" | sed "s/\\\\/\\\\\\\\/g; s/'/''/g")"; }
name() { printf '`%s`' "$(printf %s "$1" | sed 's/`/``/g')"; }

# A first start that was cut short is begun again.
[ ! -e $data/.initializing ] || rm -rf $data/* $data/.init.sql
init=$data/.init.sql
if [ ! -d $data/mysql ]; then
  : > $data/.initializing
  echo "mysql: initializing $data"
  {
    printf '%s;\n' 'CREATE DATABASE mysql' 'USE mysql' 'SET @auth_root_socket=NULL' 'SET @skip_auth_anonymous=1'
    cat $share/mysql_system_tables.sql $share/mysql_performance_tables.sql $share/mysql_system_tables_data.sql \
      $share/maria_add_gis_sp_bootstrap.sql $share/mysql_sys_schema.sql
  } | mariadbd --no-defaults --user=mysql --bootstrap --datadir=$data --lc-messages-dir=$share --innodb-log-file-size=16M --loose-innodb-buffer-pool-size=16M --silent-startup 2>/dev/null
  # The server reads one statement a line.
  (umask 077; {
    password=$(quote "${MYSQL_ROOT_PASSWORD:-}")
    echo "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host NOT IN ('localhost', '%');"
    echo 'FLUSH PRIVILEGES;'
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $password;"
    echo "CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY $password;"
    echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
    [ -z "${MYSQL_DATABASE:-}" ] || echo "CREATE DATABASE IF NOT EXISTS $(name "$MYSQL_DATABASE");"
    if [ -n "${MYSQL_USER:-}" ]; then
      echo "CREATE USER IF NOT EXISTS $(quote "$MYSQL_USER")@'%' IDENTIFIED BY $(quote "${MYSQL_PASSWORD:-}");"
      [ -z "${MYSQL_DATABASE:-}" ] || echo "GRANT ALL ON $(name "$MYSQL_DATABASE").* TO $(quote "$MYSQL_USER")@'%';"
    fi
    echo 'FLUSH PRIVILEGES;'
  } > $init)
  chown mysql:mysql $init
  rm -f $data/.initializing
fi
if [ -e $init ]; then
  set -- --init-file=$init "$@"
  # Its statements have run once the server takes connections.
  (until [ -S /run/mysqld/mysqld.sock ]; do sleep 0.2; done; sleep 2; rm -f $init) &
fi
exec mariadbd --no-defaults --user=mysql --datadir=$data --lc-messages-dir=$share --socket=/run/mysqld/mysqld.sock \
  --pid-file=/run/mysqld/mysqld.pid --innodb-log-file-size=16M --innodb-buffer-pool-size=64M --character-set-server=utf8mb4 "$@"
